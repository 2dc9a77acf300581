//! The judge, case by case and against brute force.

mod algebra;
mod brute_force;
mod builder;
mod clocks;
mod conditions;
mod consent;
mod explained;
mod groups;
mod order;
mod shared;
mod slots;
mod steps;
mod sums;
mod waits;
