//! What Mixpanel can do to a run, and what a run does to Mixpanel.

mod bodies;
mod hostile;
mod limits;
mod official;
mod pages;
mod quota;
mod retries;
