/** Loads what nothing changes by loading it, again where that fails: a network that changes breaks what is on its way. */
const ATTEMPTS = 3;
const PAUSE_MS = 700;

export async function patiently<T>(load: () => Promise<T>, isPassing: (error: unknown) => boolean = () => true): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await load();
    } catch (error) {
      if (attempt === ATTEMPTS || !isPassing(error)) throw error;
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }
}
