//! `entrepot bench`: it measures what is really there, says what it could not do, and leaves nothing but bytes to be collected.

mod around;
mod cut_off;
mod figures;
mod run;
