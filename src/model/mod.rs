//! What the gateway must do, in the terms of the field.
/// All of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {}
