//! Storage that is full, gone, frozen, slow or lying: the error is clear and comes soon, and all is well afterwards.

mod disk_full;
mod lost_answers;
mod minio_down;
mod minio_wrong;
mod refusals;
