//! The catalogues one can register in.

pub mod directory;
