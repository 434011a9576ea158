//! A calendar of what a destination holds, for a terminal and for a page.

mod grid;
mod terminal;

pub(crate) use grid::{Cell, Grid, Row, Shape, Totals};
pub(crate) use terminal::{Drawing, draw};
