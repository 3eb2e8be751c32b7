mod golden;
mod limits;
mod properties;
mod samples;
mod trusting;
