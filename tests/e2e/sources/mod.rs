//! What Mixpanel can do to a run, and what a run does to Mixpanel.

mod archive;
mod archive_bucket;
mod bodies;
mod heavy;
mod hostile;
mod kept_pages;
mod large;
mod limits;
mod official;
mod pages;
mod quota;
mod replay;
mod retries;
