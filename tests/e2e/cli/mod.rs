//! What a person types and reads.

mod backfill;
mod catalog;
mod commands;
mod config;
mod connections;
mod days;
mod documents;
mod help;
mod log_lines;
mod messages;
mod online;
mod paths;
mod pipelines;
mod progress;
#[cfg(unix)]
mod projects;
pub mod python;
mod query;
mod reading;
mod report_page;
mod reports;
mod schema;
mod shell;
mod tables;
mod terminal;
mod trials;
