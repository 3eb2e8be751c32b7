//! OCI images: made byte by byte, and by umoci and skopeo.

mod chosen;
mod flattened;
mod hostile;
mod layout;
mod running;
mod tools;
