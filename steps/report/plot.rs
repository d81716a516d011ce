//! Draws plots as SVG for a page. Colours are written as attributes, which the page's style maps for dark mode.

mod dots;
mod sheet;
mod timeline;
mod waterfall;

pub(super) use dots::{Dot, Dots, Row};
pub(super) use sheet::{Scale, Sheet, WIDTH, colour};
pub(super) use timeline::{Look, Timeline};
pub(super) use waterfall::{Stage, waterfall};
