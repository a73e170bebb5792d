/** What the server says, as a sentence of the page: its words begin in lower case, and so does the name of `kip`. */
export const sentence = (words: string): string =>
  /^(?!kip )[a-z]+[ ,:]/.test(words) ? words.charAt(0).toUpperCase() + words.slice(1) : words;
