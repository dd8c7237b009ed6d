//! What operators do, as they do it: every command with a server and without one, with rights and without, into pipes, until Ctrl-C,
//! and the endpoint behind them.

mod api;
mod copying;
mod gc;
mod json_errors;
mod login;
mod maintenance;
mod pages;
mod removing;
mod retention;
mod status;
mod tagging;
mod terminal;
mod uploads;
mod world;
