//! The tracker as a whole: its laws one by one, and a simulation of all of them together.

mod catching_up;
mod edges;
mod rig;
mod simulation;
mod tracker;
