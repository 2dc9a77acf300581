//! The judge, case by case and against brute force.

mod algebra;
mod brute_force;
mod builder;
mod steps;
