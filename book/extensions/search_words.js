// Cuts a query into the words that search_words.py has put into the index; Sphinx's search calls it.
var splitQuery = (query) => {
  const whole = []; // words that are looked up as they are
  const take = (name, words) => {
    query = query.replace(new RegExp(SEARCH_PATTERNS[name], "g"), (run, part) => {
      whole.push(...words(run, part));
      return " ";
    });
  };
  take("root", (_, letter) => [`√${letter}`]);
  take("claim", (_, number) => [number]);
  take("han", (run) => (run.length === 1 ? [run] : [...run].slice(1).map((letter, i) => run[i] + letter)));
  query = query.replace(/(?<![\p{L}\p{N}_])[\p{L}\p{N}_]{1,2}\.(?=\p{L})/gu, ""); // nn.LayerNorm
  const words = query.split(/[^\p{L}\p{N}_]+/gu).filter((word) => word);
  return [...whole, ...words.map((word) => GREEK[word] ?? word)];
};
