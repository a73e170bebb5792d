/** The sections that are closed at first, as one chunk: the editor does not wait for them. */
export { default as Bindings } from './Bindings.svelte';
export { default as Dependencies } from './Dependencies.svelte';
export { default as Environment } from './Environment.svelte';
export { default as Logs } from './Logs.svelte';
export { default as Request } from './Request.svelte';
export { default as Resources } from './Resources.svelte';
export { default as Revisions } from './Revisions.svelte';
export { default as Secrets } from './Secrets.svelte';
export { default as Settings } from './Settings.svelte';
export { default as Status } from './Status.svelte';
export { default as Volumes } from './Volumes.svelte';
