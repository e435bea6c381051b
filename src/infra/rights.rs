//! Who the pods are, and what they may read: their own bundle and certificates, and nothing else.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};

use super::Site;
use super::names::readable;

pub(super) fn service_account(site: &Site<'_>) -> ServiceAccount {
    ServiceAccount { metadata: site.metadata(), ..ServiceAccount::default() }
}

pub(super) fn role(site: &Site<'_>) -> Role {
    let (config_maps, secrets) = readable(&site.name);
    let rules = vec![rule("configmaps", config_maps), rule("secrets", secrets)];
    Role { metadata: site.metadata(), rules: Some(rules) }
}

/// With names, `list` and `watch` are for these objects alone, one at a time: a field selector has to name it.
fn rule(resource: &str, names: Vec<String>) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![String::new()]),
        resources: Some(vec![resource.to_owned()]),
        resource_names: Some(names),
        verbs: ["get", "list", "watch"].map(str::to_owned).into(),
        ..PolicyRule::default()
    }
}

pub(super) fn role_binding(site: &Site<'_>) -> RoleBinding {
    let subject = Subject {
        kind: "ServiceAccount".to_owned(),
        name: site.name.clone(),
        namespace: Some(site.gateway.namespace.clone()),
        api_group: None,
    };
    RoleBinding {
        metadata: site.metadata(),
        role_ref: RoleRef {
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            kind: "Role".to_owned(),
            name: site.name.clone(),
        },
        subjects: Some(vec![subject]),
    }
}
