//! Tests of the machine: its graph, its record, single ways through it, and crashes everywhere.

mod by_hand;
mod crashes;
mod graph;
mod os_world;
mod probation;
mod record;
mod recovery;
mod refusals;
mod script;
mod systems;
mod trial;
mod ways;
mod wishes;
mod world;
