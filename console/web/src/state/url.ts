/** Where an HTTP function is found; null while there is no name, or no domain that is known. */
export function functionUrl(name: string, domain: string | null): string | null {
  return name.trim() && domain ? `https://fn-${name.trim()}-${domain}` : null;
}
