// A trained Transformer at work in the page: the arithmetic of transformer_book.transformer and of its beam search, one
// sequence at a time, with a cache, and with what the picture shows kept on the way. Tested against the Python package.
// Whatever takes long is a generator that yields every few milliseconds, so that a page can paint and listen between.
import { linear, row, weightsOf } from "./_network.js";

/**
 * What is taken out of the model; as in live_transformer.py.
 * @typedef {object} Broken
 * @property {boolean} mask the decoder looks at later characters too @property {boolean} scale scores are not divided by √K
 * @property {boolean} positions nothing is added for the place @property {string[]} removed heads, as "cross-2-3"
 */

/** @typedef {{ weights: object, parts: Map, config: object, broken: Broken, heads: number, width: number }} Network */

/**
 * What the decoder did with one character that it was fed.
 * @typedef {object} Pass
 * @property {Float64Array[]} keys by layer; with the values what a cache holds @property {Float64Array[]} values
 * @property {Float64Array[][]} own self-attention: by layer and head its weights over what was fed so far
 * @property {Float64Array[][]} cross by layer and head its weights over the source
 * @property {Float64Array[]} stops the residual stream: embedded, then after each addition @property {Float64Array} logits
 * @property {Pass[]} [all] without a mask: the passes of all characters so far, which were computed anew with this one
 */

const [PADDING, BEGIN, STOP] = [0, 1, 2];
const EPSILON = 1e-5; // of layer norms, as in torch

/** @param {object} packed by _transformer.py @param {Broken} broken @returns {Network} */
export function makeNetwork(packed, broken) {
  const { d_model: model, num_heads: heads } = packed.config;
  return { weights: weightsOf(packed), parts: new Map(), config: packed.config, broken, heads, width: model / heads };
}

/** One row of transformer_book.positions.sinusoids. @param {number} position @param {number} size @returns {Float64Array} */
export function sinusoid(position, size) {
  return Float64Array.from({ length: size }, (_, d) => {
    const angle = position * Math.exp((-Math.log(10000) / size) * (d - (d % 2)));
    return d % 2 ? Math.cos(angle) : Math.sin(angle);
  });
}

function embed(net, side, id, position) {
  const { weights, config, broken } = net;
  const place = weights[`${side}_embedding.positions.table`];
  const added = broken.positions || config.positions === "none" || config.positions === "rotary" ? null : place ? row(place, position) : sinusoid(position, config.d_model);
  const factor = Math.sqrt(config.d_model);
  return row(weights[`${side}_embedding.tokens.weight`], id).map((x, d) => factor * x + (added ? added[d] : 0));
}

/** Weight and bias of a part; names are joined once, not for every position. */
function partOf(net, name) {
  if (!net.parts.has(name)) net.parts.set(name, [net.weights[`${name}.weight`], net.weights[`${name}.bias`]]);
  return net.parts.get(name);
}

function layerNorm(net, name, x) {
  const [gain, shift] = partOf(net, name);
  let [mean, variance] = [0, 0];
  for (let d = 0; d < x.length; d += 1) mean += x[d] / x.length;
  for (let d = 0; d < x.length; d += 1) variance += (x[d] - mean) ** 2 / x.length;
  const size = Math.sqrt(variance + EPSILON);
  return x.map((each, d) => ((each - mean) / size) * gain.numbers[d] + shift.numbers[d]);
}

function apply(net, name, x) {
  const [weight, bias] = partOf(net, name);
  return linear(weight, x, bias);
}

/** Each vector by itself: W₂ max(0, W₁ x + b₁) + b₂. */
function feedForward(net, name, stream) {
  const [hidden, output] = [`${name}.hidden`, `${name}.output`];
  return stream.map((x) => apply(net, output, apply(net, hidden, x).map((each) => Math.max(0, each))));
}

/** A query or a key; in the self-attention of a model with rotary positions turned by its position. */
function project(net, name, x, position) {
  const vector = apply(net, name, x);
  if (position === null || net.config.positions !== "rotary" || net.broken.positions) return vector;
  const angles = sinusoid(position, net.width);
  return vector.map((each, d) => {
    const at = (d % net.width) - (d % 2);
    return d % 2 ? vector[d - 1] * angles[at] + each * angles[at + 1] : each * angles[at + 1] - vector[d + 1] * angles[at];
  });
}

/** One query against all keys. @returns {{ output: Float64Array, weights: Float64Array[] }} weights by head */
function attend(net, name, head, query, keys, values) {
  const { heads, width, broken } = net;
  const scale = broken.scale ? 1 : 1 / Math.sqrt(width);
  const blend = new Float64Array(heads * width);
  const weights = [];
  for (let h = 0; h < heads; h += 1) {
    const shares = new Float64Array(keys.length);
    let largest = -Infinity;
    for (let s = 0; s < keys.length; s += 1) {
      const key = keys[s];
      let score = 0;
      for (let d = h * width; d < (h + 1) * width; d += 1) score += query[d] * key[d];
      shares[s] = score * scale;
      largest = Math.max(largest, shares[s]);
    }
    let total = 0;
    for (let s = 0; s < keys.length; s += 1) total += shares[s] = Math.exp(shares[s] - largest);
    for (let s = 0; s < keys.length; s += 1) shares[s] /= total;
    weights.push(shares);
    if (broken.removed.includes(`${head}-${h + 1}`)) continue; // it still looks, but what it sees reaches nobody
    for (let s = 0; s < keys.length; s += 1) {
      const [part, value] = [shares[s], values[s]];
      for (let d = h * width; d < (h + 1) * width; d += 1) blend[d] += part * value[d];
    }
  }
  return { output: apply(net, `${name}.output`, blend), weights };
}

/** A sub-layer and the residual stream around it. @param {(seen: Float64Array[]) => Float64Array[]} write */
function pass(net, name, stream, write) {
  const normName = `${name}.norm`;
  const norm = (x) => layerNorm(net, normName, x);
  const written = write(net.config.norm_first ? stream.map(norm) : stream);
  const sums = stream.map((x, t) => x.map((each, d) => each + written[t][d]));
  return net.config.norm_first ? sums : sums.map(norm);
}

/**
 * Read a source.
 * @param {Network} net @param {number[]} source ids
 * @returns {Generator<void, { maps: Float64Array[][][], stops: Float64Array[][], keys: Float64Array[][], values: Float64Array[][] }>}
 *   weights by layer, position and head; the stream by stop and position; for the decoder's layers keys and values by position
 */
export function* encode(net, source) {
  const { num_encoder_layers: depth, num_decoder_layers: decoders } = net.config;
  let stream = source.map((id, s) => embed(net, "source", id, s));
  const [stops, maps] = [[stream], []];
  for (let layer = 0; layer < depth; layer += 1) {
    const place = `encoder_layers.${layer}`;
    stream = pass(net, `${place}.attention_residual`, stream, (seen) => {
      const name = `${place}.attention`;
      const [query, key, value] = ["query", "key", "value"].map((part) => `${name}.${part}`);
      const [queries, keys] = [query, key].map((part) => seen.map((x, s) => project(net, part, x, s)));
      const values = seen.map((x) => apply(net, value, x));
      const looks = queries.map((each) => attend(net, name, `encoder-${layer + 1}`, each, keys, values));
      maps.push(looks.map(({ weights }) => weights));
      return looks.map(({ output }) => output);
    });
    stops.push(stream);
    stream = pass(net, `${place}.feed_forward_residual`, stream, (seen) => feedForward(net, `${place}.feed_forward`, seen));
    stops.push(stream);
    yield;
  }
  const states = stream.map((x) => layerNorm(net, "encoder_norm", x));
  const [keys, values] = ["key", "value"].map((part) =>
    Array.from({ length: decoders }, (_, layer) => states.map((x) => apply(net, `decoder_layers.${layer}.cross_attention.${part}`, x))),
  );
  return { maps, stops, keys, values };
}

/**
 * Feed characters to the decoder after those of the passes before, and predict what follows each.
 * @param {Network} net @param {object} memory from `encode` @param {Pass[]} before @param {number[]} ids @returns {Pass[]}
 */
export function decode(net, memory, before, ids) {
  let stream = ids.map((id, t) => embed(net, "target", id, before.length + t));
  const passes = stream.map((x) => ({ keys: [], values: [], own: [], cross: [], stops: [x], logits: null }));
  const all = [...before, ...passes];
  const stopped = () => stream.forEach((x, t) => passes[t].stops.push(x));
  for (let layer = 0; layer < net.config.num_decoder_layers; layer += 1) {
    const place = `decoder_layers.${layer}`;
    stream = pass(net, `${place}.attention_residual`, stream, (seen) => {
      const name = `${place}.attention`;
      seen.forEach((x, t) => {
        passes[t].keys[layer] = project(net, `${name}.key`, x, before.length + t);
        passes[t].values[layer] = apply(net, `${name}.value`, x);
      });
      return seen.map((x, t) => {
        const visiblePasses = net.broken.mask ? all : all.slice(0, before.length + t + 1);
        const query = project(net, `${name}.query`, x, before.length + t);
        const [keys, values] = ["keys", "values"].map((part) => visiblePasses.map((each) => each[part][layer]));
        const { output, weights } = attend(net, name, `decoder-${layer + 1}`, query, keys, values);
        passes[t].own.push(weights);
        return output;
      });
    });
    stopped();
    stream = pass(net, `${place}.cross_residual`, stream, (seen) =>
      seen.map((x, t) => {
        const name = `${place}.cross_attention`;
        const query = project(net, `${name}.query`, x, null);
        const { output, weights } = attend(net, name, `cross-${layer + 1}`, query, memory.keys[layer], memory.values[layer]);
        passes[t].cross.push(weights);
        return output;
      }),
    );
    stopped();
    stream = pass(net, `${place}.feed_forward_residual`, stream, (seen) => feedForward(net, `${place}.feed_forward`, seen));
    stopped();
  }
  stream.forEach((x, t) => (passes[t].logits = readOut(net, x)));
  return passes;
}

/** Logits that a vector of the decoder's residual stream would give, were it the last one. @param {Network} net @param {Float64Array} x */
export function readOut(net, x) {
  return apply(net, "readout", layerNorm(net, "decoder_norm", x));
}

/** @param {Float64Array} logits @returns {Float64Array} log-probabilities */
export function logSoftmax(logits) {
  const largest = Math.max(...logits);
  const total = Math.log(logits.reduce((sum, x) => sum + Math.exp(x - largest), 0));
  return logits.map((x) => x - largest - total);
}

/** One more pass, after those of a beginning. Without a mask nothing can be kept: every pass is computed anew. */
function nextPass(net, memory, { ids, passes }) {
  if (!net.broken.mask) return decode(net, memory, passes, ids.slice(-1))[0];
  const all = decode(net, memory, [], ids);
  return { ...all.at(-1), all };
}

/**
 * Read a source and write a target: beam search as in transformer_book.decoding; a beam of one is greedy.
 * @param {Network} net @param {number[]} source ids @param {number} size of the beam @param {number} most characters, the end included
 * @param {number} penalty exponent of the length
 * @returns {Generator<void, { memory: object, ids: number[], passes: Pass[], score: number, total: number, tree: object[][] }>}
 *   what was read, what was written and how, and for each step the beginnings kept, best first
 */
export function* answer(net, source, size, most, penalty) {
  const memory = yield* encode(net, source);
  let beam = [{ ids: [BEGIN], passes: [], total: 0, score: 0, length: 0, ended: false }];
  const tree = [];
  while (beam[0].ids.length <= most && beam.some(({ ended }) => !ended)) {
    const candidates = [];
    for (const [parent, beginning] of beam.entries()) {
      const { ids, passes, total, length, ended } = beginning;
      const score = (sum, count) => sum / ((5 + count) / 6) ** penalty;
      if (ended) {
        candidates.push({ parent, token: PADDING, ids: [...ids, PADDING], passes, total, score: score(total, length), length, ended });
        continue;
      }
      const last = nextPass(net, memory, beginning);
      const grown = [...passes, last];
      logSoftmax(last.logits).forEach((log, token) => {
        candidates.push({ parent, token, ids: [...ids, token], passes: grown, total: total + log, score: score(total + log, length + 1), length: length + 1, ended: token === STOP });
      });
      yield;
    }
    beam = candidates.sort((a, b) => b.score - a.score).slice(0, size); // sorting keeps the order of equals
    tree.push(beam.map(({ parent, token, ids, total, score, ended }) => ({ parent, token, ids, total, score, ended })));
  }
  const { ids, passes, score, total, length } = beam[0];
  return { memory, ids: ids.slice(1, 1 + length), passes, score, total, tree };
}

/** The result of a generator, without pauses. @template T @param {Generator<void, T>} work @returns {T} */
export function finish(work) {
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
  }
}

/** `answer` without pauses. @param {object} packed @param {Broken} broken @param {...any} rest as of `answer` */
export function answerAtOnce(packed, broken, ...rest) {
  return finish(answer(makeNetwork(packed, broken), ...rest));
}

/** Teacher forcing: all passes of a target that is given. @param {object} packed @param {Broken} broken @param {number[]} source
 * @param {number[]} target from the start on @returns {Pass[]} */
export function forced(packed, broken, source, target) {
  const net = makeNetwork(packed, broken);
  return decode(net, finish(encode(net, source)), [], target);
}

/** Weights of one attention, a row for each query, while character t was written. @param {{ memory: object, passes: Pass[] }} done
 * @param {string} kind "encoder", "decoder" or "cross" @param {number} layer from 0 @param {number} head from 0 @param {number} t */
export function mapOf({ memory, passes }, kind, layer, head, t) {
  if (kind === "encoder") return memory.maps[layer].map((heads) => heads[head]);
  const part = kind === "decoder" ? "own" : "cross";
  return (passes[t].all ?? passes.slice(0, t + 1)).map((each) => each[part][layer][head]);
}
