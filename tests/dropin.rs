//! Entrepot over the tree of distribution: instead of it, beside it, and back.

mod collected;
mod images;
mod layout;
mod lists;
mod moved_tags;
mod purged;
mod sha512;
mod tree;
