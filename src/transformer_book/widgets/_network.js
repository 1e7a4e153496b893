// A trained encoder–decoder at work in the page: the arithmetic of transformer_book.seq2seq for GRUs, one sequence at
// a time. Tested against the Python package. Numbers are float64; the weights are those that _network.py packed.

/**
 * A model as _network.py packs it.
 * @typedef {object} Packed
 * @property {string[]} source_symbols what ids 3, 4, … of the source stand for
 * @property {string[]} target_symbols the same for the target
 * @property {[string, number[], number][]} tensors name, shape and place of the first number of each weight
 * @property {string} data all weights one after the other: float16, little-endian, as base64
 */

/** @typedef {{ shape: number[], numbers: Float64Array }} Weight */

const START = 1;
const END = 2;
export const NUM_SPECIAL = 3; // ids of padding, start and end come before those of symbols

/** The number that sixteen bits of IEEE 754 stand for; infinities and NaN are not packed.
 * @param {number} bits @returns {number} */
export function float16(bits) {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const size = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
  return bits & 0x8000 ? -size : size;
}

/** @type {WeakMap<Packed, Record<string, Weight>>} */
const unpacked = new WeakMap();

/** Weights by name; the same packed model is unpacked once. @param {Packed} packed @returns {Record<string, Weight>} */
export function weightsOf(packed) {
  if (!unpacked.has(packed)) {
    const bytes = Uint8Array.from(atob(packed.data), (letter) => letter.charCodeAt(0));
    const number = (i) => float16(bytes[2 * i] | (bytes[2 * i + 1] << 8));
    const weights = packed.tensors.map(([name, shape, start]) => {
      const size = shape.reduce((product, length) => product * length, 1);
      return [name, { shape, numbers: Float64Array.from({ length: size }, (_, i) => number(start + i)) }];
    });
    unpacked.set(packed, Object.fromEntries(weights));
  }
  return unpacked.get(packed);
}

/** W x + b. @param {Weight} weight (outputs, inputs) @param {Float64Array} x @param {Weight} [bias] @returns {Float64Array} */
export function linear({ shape: [outputs, inputs], numbers }, x, bias) {
  const y = new Float64Array(outputs);
  for (let i = 0; i < outputs; i += 1) {
    let sum = bias ? bias.numbers[i] : 0;
    for (let j = 0; j < inputs; j += 1) sum += numbers[i * inputs + j] * x[j];
    y[i] = sum;
  }
  return y;
}

/** Row of an embedding. @param {Weight} weight @param {number} id @returns {Float64Array} */
export function row({ shape: [, width], numbers }, id) {
  return numbers.subarray(id * width, (id + 1) * width);
}

/** Two vectors, one after the other. @param {Float64Array} first @param {Float64Array} second @returns {Float64Array} */
function joined(first, second) {
  const both = new Float64Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

function sigmoid(x) {
  return 1 / (1 + Math.exp(-x));
}

/** One step of a GRU; gates in torch's order: reset, update, new.
 * @param {Record<string, Weight>} weights @param {string} name @param {Float64Array} x @param {Float64Array} state */
function gru(weights, name, x, state) {
  const fromInput = linear(weights[`${name}.weight_ih_l0`], x, weights[`${name}.bias_ih_l0`]);
  const fromState = linear(weights[`${name}.weight_hh_l0`], state, weights[`${name}.bias_hh_l0`]);
  const width = state.length;
  return state.map((old, d) => {
    const reset = sigmoid(fromInput[d] + fromState[d]);
    const update = sigmoid(fromInput[d + width] + fromState[d + width]);
    const fresh = Math.tanh(fromInput[d + 2 * width] + reset * fromState[d + 2 * width]);
    return (1 - update) * fresh + update * old;
  });
}

/** @param {number[]} scores @returns {number[]} */
function softmax(scores) {
  const largest = Math.max(...scores);
  const exps = scores.map((score) => Math.exp(score - largest));
  const total = exps.reduce((sum, x) => sum + x, 0);
  return exps.map((x) => x / total);
}

/** Where the decoder looks before a step: additive attention, vᵀ tanh(W_q q + W_k k).
 * @returns {number[]} one weight per source position */
function lookBack(weights, state, keys) {
  const query = linear(weights["decoder.score.query.weight"], state);
  const value = weights["decoder.score.value.weight"].numbers;
  const scores = keys.map((key) => {
    let sum = 0;
    for (let f = 0; f < key.length; f += 1) sum += value[f] * Math.tanh(query[f] + key[f]);
    return sum;
  });
  return softmax(scores);
}

/** Σ weight · state. @param {number[]} shares @param {Float64Array[]} states @returns {Float64Array} */
function blend(shares, states) {
  const sum = new Float64Array(states[0].length);
  states.forEach((state, s) => {
    for (let d = 0; d < sum.length; d += 1) sum[d] += shares[s] * state[d];
  });
  return sum;
}

/**
 * Read a sequence, then write one greedily: at each step the most probable symbol, fed back.
 * @param {Packed} packed
 * @param {number[]} source ids, at least one
 * @param {number} maxLength most symbols to write, the end included
 * @returns {{ context: number[], ids: number[], logits: number[][], weights: number[][] }} the encoder's last state; what
 *   was written, the end included; and by written symbol its logits and its weights over the source (empty without attention)
 */
export function run(packed, source, maxLength) {
  const weights = weightsOf(packed);
  let state = new Float64Array(weights["encoder.recurrent.weight_hh_l0"].shape[1]);
  const states = source.map((id) => (state = gru(weights, "encoder.recurrent", row(weights["encoder.embedding.weight"], id), state)));
  const context = state;
  const attends = "decoder.score.key.weight" in weights;
  const keys = attends ? states.map((each) => linear(weights["decoder.score.key.weight"], each)) : [];

  const written = { context: [...context], ids: [], logits: [], weights: [] };
  let id = START;
  while (written.ids.length < maxLength && id !== END) {
    const shares = attends ? lookBack(weights, state, keys) : [];
    const seen = attends ? blend(shares, states) : context;
    state = gru(weights, "decoder.recurrent", joined(row(weights["decoder.embedding.weight"], id), seen), state);
    const logits = linear(weights["decoder.readout.weight"], joined(state, seen), weights["decoder.readout.bias"]);
    id = logits.indexOf(Math.max(...logits));
    written.ids.push(id);
    written.logits.push([...logits]);
    written.weights.push(shares);
  }
  return written;
}

/** Ids of symbols; −1 for one that is unknown. @param {string[]} symbols @param {Iterable<string>} sequence @returns {number[]} */
export function toIds(symbols, sequence) {
  return Array.from(sequence, (symbol) => (symbols.includes(symbol) ? symbols.indexOf(symbol) + NUM_SPECIAL : -1));
}

/** Symbols of what `run` wrote; the special ids stand for none. @param {string[]} symbols @param {number[]} ids @returns {string[]} */
export function toSymbols(symbols, ids) {
  return ids.filter((id) => id >= NUM_SPECIAL).map((id) => symbols[id - NUM_SPECIAL]);
}
