//! Model to bundle: complete, static VCL.
use crate::bundle::Bundle;
use crate::model::Model;
/// Renders models; keeps the text of shards that did not change.
#[derive(Debug, Default)]
pub struct Renderer {}
impl Renderer {
    /// The bundle for a model: the same model gives the same bytes, whatever was rendered before.
    pub fn render(&mut self, _model: &Model) -> Bundle {
        Bundle::default()
    }
}
