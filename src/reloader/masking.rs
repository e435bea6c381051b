//! Makes varnishd log what the access log reads, and no more.

use tracing::warn;

use super::Context;
use super::access_log;
use super::serving::{COMMAND_LIMIT, Serving, ServingError};
use super::varnishd::{mask, user};
use crate::bundle::Manifest;

impl Serving<'_> {
    /// Sets `vsl_mask` to what the bundle needs: once, whatever comes of it.
    pub(super) async fn mask_log(&mut self) -> Result<(), ServingError> {
        let wanted = mask(self.context, &self.bundle.manifest);
        let Some(mask) = wanted.filter(|wanted| self.mask.as_ref() != Some(wanted)) else { return Ok(()) };
        let answer = self.request(&format!("param.set vsl_mask {mask}"), COMMAND_LIMIT).await;
        match answer.as_ref().map_err(ServingError::refusal) {
            Ok(_) => {}
            Err(Some(problem)) => warn!(problem, "what varnishd logs cannot be changed"),
            Err(None) => return answer.map(drop),
        }
        self.mask = Some(mask);
        Ok(())
    }
}

/// The value of `vsl_mask` for a bundle; none leaves it to the user.
pub(super) fn mask(context: &Context, manifest: &Manifest) -> Option<String> {
    let users = user::parameter(&context.options.varnishd_args, "vsl_mask");
    mask::value(&access_log::tags(manifest.logging.as_ref()), users.as_deref())
}
