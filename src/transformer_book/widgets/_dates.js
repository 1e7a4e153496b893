// Dates as they are typed, and weights over their characters in words: what the widgets that read dates share.
// Tested against transformer_book.tasks.dates.

export const MOST_READ = 40; // characters

const APOSTROPHES = "‘’‛ʹʼˊ′`";

/** 0 … 9 for a decimal digit of any script: the ten of a script follow one another, and something else comes before. @param {string} digit @returns {number} */
function decimal(digit) {
  let value = 0;
  while (/\p{Nd}/u.test(String.fromCodePoint(digit.codePointAt(0) - value - 1))) value += 1;
  return value;
}

/** @param {string} character @returns {string} */
function foldCharacter(character) {
  if (/\p{Nd}/u.test(character)) return String(decimal(character));
  if (/[\p{Pd}−]/u.test(character)) return "-";
  if (APOSTROPHES.includes(character)) return "'";
  if (/\p{Cf}/u.test(character)) return "";
  return character === "İ" ? "i" : character.toLowerCase();
}

/** What the network reads of what was typed: the same as transformer_book.tasks.dates.normalise gives.
 * @param {string} text @returns {string} */
export function normalise(text) {
  const folded = [...text.replaceAll("´", "'").normalize("NFKC")].map(foldCharacter).join("");
  const words = folded.normalize("NFKC").split(/[\s\x1c-\x1f\x85]+/u); // what Python takes for white space
  return words.filter((word) => word !== "").join(" ");
}

/** Sources in what was typed, normalised: one, if it is one date. @param {string} text @returns {string[]} */
export function sourcesOf(text) {
  const parts = normalise(text).split(";"); // stands between dates in a row, which this network was not trained on
  return parts.map((part) => part.trim()).filter((part) => part !== "");
}

/** A character in quotation marks; one of a script that runs from right to left keeps to itself. */
function quoted(character) {
  return /[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}]/u.test(character) ? `“\u2068${character}\u2069”` : `“${character}”`;
}

/**
 * What keeps a network from reading what was typed, in words; empty where nothing does.
 * @param {string[]} symbols the characters that it knows @param {string} text @returns {string}
 */
export function problemOf(symbols, text) {
  const sources = sourcesOf(text);
  if (sources.length !== 1) return sources.length === 0 ? "Type a date." : "Type one date, without “;”.";
  const characters = [...sources[0]];
  if (characters.length > MOST_READ) return `Too long: ${characters.length} characters; the network reads up to ${MOST_READ}.`;
  const unknown = [...new Set(characters)].filter((character) => !symbols.includes(character));
  return unknown.length === 0 ? "" : `No date that the network was trained on has ${unknown.map(quoted).join(", ")}.`;
}

// Characters named in a sentence about one row of weights: at most so many, each with at least this share.
const MOST_NAMED = 4;
export const LEAST_NAMED = 0.05;

/** @param {number} share @returns {string} */
export function percent(share) {
  return `${Math.round(100 * share)}%`;
}

/** A row of weights in words: where most of it lies. @param {string[]} source @param {number[]} weights @returns {string} */
export function inWords(source, weights) {
  const order = weights.map((_, s) => s).sort((a, b) => weights[b] - weights[a] || a - b);
  const named = order.filter((s, rank) => rank === 0 || (rank < MOST_NAMED && weights[s] >= LEAST_NAMED));
  const looks = named.map((s) => {
    const name = source[s] === " " ? "a space" : `“${source[s]}”`;
    return `${percent(weights[s])} at ${name} (character ${s + 1})`;
  });
  const rest = 1 - named.reduce((sum, s) => sum + weights[s], 0);
  return rest < 0.005 ? looks.join(", ") : `${looks.join(", ")}, ${percent(rest)} elsewhere`;
}

/** A character as it can be seen. @param {string} character @returns {string} */
export function visible(character) {
  return character === " " ? "␣" : character;
}
