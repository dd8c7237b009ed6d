//! `entrepot doctor`: each broken installation is named by the line that is about it, a whole one by none, and nothing is left behind.

mod afterwards;
mod around;
mod beforehand;
mod patient;
