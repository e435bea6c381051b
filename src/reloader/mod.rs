//! Keeps a varnishd serving the wanted bundle.
