//! Real children that behave in every bad way: each caller gets one answer, others do not notice, memory stays bounded, no process stays.

mod scene;

mod asking;
mod failing;
mod offers;
mod processes;
mod sharing;
mod starting;
mod talking;
