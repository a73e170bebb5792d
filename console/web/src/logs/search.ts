// A search in lines: literal text, in upper or lower case. The server's rule (`cli/client/src/logs/search.rs`)
// for lines that are here already. Pure.

export function matcher(search: string): (line: string) => boolean {
  const pattern = new RegExp(search.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'), 'iu');
  return (line) => pattern.test(line);
}
