export function running(): { node: string[]; python: string[] };
