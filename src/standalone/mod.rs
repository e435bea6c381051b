//! Manifests from a folder, served by a Varnish on this machine.
