//! The console's view of `kip dev`: its functions are files, and saving one writes its file.
//!
//! `board` is what `kip dev` shows of what it runs, `files` reads and writes the files, `backend` answers
//! the console with both. Whatever changes what runs goes to `kip dev` as an order; the backend itself
//! starts and stops nothing.

pub(crate) mod board;

mod document;
mod files;

pub(crate) mod backend;
