/** Where an HTTP function is found; null while there is no name, or no pattern that is known. */
export function functionUrl(name: string, pattern: string | null): string | null {
  return name.trim() && pattern ? pattern.replace('{name}', name.trim()) : null;
}
