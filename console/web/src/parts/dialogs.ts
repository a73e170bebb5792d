/** The form's questions, as one chunk that is loaded with the first of them. */
export { default as ChangesDialog } from './ChangesDialog.svelte';
export { default as ConflictDialog } from './ConflictDialog.svelte';
export { default as DeleteDialog } from './DeleteDialog.svelte';
export { default as LeaveDialog } from './LeaveDialog.svelte';
