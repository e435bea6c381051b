//! The CEL rules of the CRDs, applied without an API server.

use std::sync::LazyLock;

use kube::core::cel::{CompiledSchema, Validator, compile_schema};
use serde::Serialize;
use serde_json::{Value, json};

use super::crds;
use super::logging_policy::VarnishLoggingPolicySpec;
use super::parameters::GatewayClassParametersSpec;

/// Rules for a schema's `x-kubernetes-validations`: each an expression, and what is said when it is false.
pub(super) fn rules(rules: &[(&str, &str)]) -> Value {
    rules.iter().map(|(rule, message)| json!({"rule": rule, "message": message})).collect()
}

/// What the specs of one kind are checked against.
type Schema = LazyLock<Option<CompiledSchema>>;

static PARAMETERS: Schema = LazyLock::new(|| compiled("gatewayclassparameters.copal.dev"));
static LOGGING_POLICY: Schema = LazyLock::new(|| compiled("varnishloggingpolicies.copal.dev"));

fn compiled(crd: &str) -> Option<CompiledSchema> {
    crds::all().iter().find(|it| it.name == crd)?.spec_schema().map(compile_schema)
}

impl GatewayClassParametersSpec {
    /// What the API server would refuse it for.
    ///
    /// # Errors
    /// With a message for people when it is not as the CRD wants it.
    pub fn validate(&self) -> Result<(), String> {
        check(&PARAMETERS, self)
    }
}

impl VarnishLoggingPolicySpec {
    /// What the API server would refuse it for.
    ///
    /// # Errors
    /// With a message for people when it is not as the CRD wants it.
    pub fn validate(&self) -> Result<(), String> {
        check(&LOGGING_POLICY, self)
    }
}

fn check(schema: &Schema, spec: &impl Serialize) -> Result<(), String> {
    let Some(schema) = schema.as_ref() else { return Ok(()) };
    // Plain data always has a JSON form.
    let spec = serde_json::to_value(spec).unwrap_or_default();
    let Err(errors) = Validator::new().validate_compiled(schema, &spec, None) else { return Ok(()) };
    let mut said: Vec<String> = errors.iter().map(|it| at(&it.field_path, &it.message)).collect();
    said.sort();
    Err(said.join("; "))
}

fn at(path: &str, message: &str) -> String {
    let path = if path.is_empty() { "spec".to_owned() } else { format!("spec.{path}") };
    format!("{path}: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::DeserializeOwned;

    fn spec<T: DeserializeOwned>(yaml: &str) -> T {
        serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{yaml}: {error}"))
    }

    fn broken(schema: &CompiledSchema) -> Vec<String> {
        let own = schema.compilation_errors().into_iter().map(|it| format!("{it:?}")).collect::<Vec<_>>();
        let below = schema
            .properties
            .values()
            .chain(schema.items.as_deref())
            .chain(schema.additional_properties.as_deref());
        own.into_iter().chain(below.flat_map(broken)).collect()
    }

    #[test]
    fn all_rules_can_be_read() {
        for schema in [&PARAMETERS, &LOGGING_POLICY] {
            assert_eq!(broken(schema.as_ref().unwrap()), Vec::<String>::new());
        }
    }

    #[test]
    fn parameters_that_are_as_they_should_be() {
        for yaml in [
            "{}",
            "{replicas: 0}",
            "{replicas: 3, image: 'registry.test/copal:1'}",
            "{autoscaling: {maxReplicas: 4}}",
            "{autoscaling: {minReplicas: 4, maxReplicas: 4, targetCpuUtilizationPercentage: 50}}",
            "{service: {type: NodePort, externalTrafficPolicy: Local, annotations: {a.test/b: c}}}",
            "{service: {loadBalancerClass: x.test/lb, externalTrafficPolicy: Cluster}}",
            "{storage: {size: 1Gi}}",
            "{varnishd: {parameters: {thread_pool_max: '2000', timeout_idle: '5', default_grace: '1'}, extraArguments: [-s, 'malloc,1g']}}",
            "{vcl: {configMapRef: {name: a.b-c, key: main.vcl}}}",
            "{logging: {enabled: true, format: {json: {fields: [time, url], requestHeaders: [X-A]}}, query: 'RespStatus >= 500', redactHeaders: [cookie]}}",
            "{resources: {limits: {memory: 1Gi}}, extraVolumes: [{name: a, emptyDir: {}}], extraVolumeMounts: [{name: a, mountPath: /a}]}",
        ] {
            assert_eq!(spec::<GatewayClassParametersSpec>(yaml).validate(), Ok(()), "{yaml}");
        }
    }

    #[test]
    fn parameters_that_are_not() {
        for (yaml, message) in [
            ("{replicas: -1}", "spec: replicas: expected 0 or more"),
            (
                "{replicas: 1, autoscaling: {maxReplicas: 2}}",
                "spec: replicas and autoscaling exclude each other",
            ),
            ("{image: ''}", "spec: image: "),
            ("{image: 'a b'}", "spec: image: "),
            ("{autoscaling: {maxReplicas: 0}}", "spec.autoscaling: maxReplicas: "),
            ("{autoscaling: {minReplicas: 0, maxReplicas: 1}}", "spec.autoscaling: minReplicas: "),
            (
                "{autoscaling: {minReplicas: 3, maxReplicas: 2}}",
                "spec.autoscaling: minReplicas is more than maxReplicas",
            ),
            (
                "{autoscaling: {maxReplicas: 2, targetCpuUtilizationPercentage: 0}}",
                "spec.autoscaling: target",
            ),
            (
                "{service: {type: ClusterIP, externalTrafficPolicy: Local}}",
                "spec.service: externalTrafficPolicy",
            ),
            ("{service: {type: NodePort, loadBalancerClass: a}}", "spec.service: loadBalancerClass"),
            ("{storage: {size: lots}}", "spec.storage: size: "),
            ("{storage: {size: '100'}}", "spec.storage: size: "),
            ("{varnishd: {parameters: {cc_command: 'rm -rf /'}}}", "spec.varnishd: parameters: "),
            ("{varnishd: {parameters: {vsl_mask: '-ReqURL'}}}", "spec.varnishd: parameters: "),
            ("{varnishd: {parameters: {max_vcl: '1'}}}", "spec.varnishd: parameters: "),
            ("{varnishd: {parameters: {Timeout-Idle: '10'}}}", "spec.varnishd: parameters: "),
            ("{varnishd: {parameters: {timeout_idle: '1'}}}", "spec.varnishd: parameters: timeout_idle"),
            ("{varnishd: {parameters: {timeout_idle: '0.5s'}}}", "spec.varnishd: parameters: timeout_idle"),
            ("{varnishd: {parameters: {thread_pool_max: \"1\\n2\"}}}", "spec.varnishd: parameters: "),
            ("{varnishd: {extraArguments: [-f, /x]}}", "spec.varnishd: extraArguments: "),
            ("{varnishd: {extraArguments: ['-pcc_command=x']}}", "spec.varnishd: extraArguments: "),
            ("{vcl: {configMapRef: {name: A_b}}}", "spec.vcl.configMapRef: name: "),
            ("{vcl: {configMapRef: {name: a, key: 'a/b'}}}", "spec.vcl.configMapRef: key: "),
            ("{logging: {format: {}}}", "spec.logging.format: "),
            ("{logging: {format: {json: {}, ncsa: '%h'}}}", "spec.logging.format: "),
            ("{logging: {format: {ncsa: ''}}}", "spec.logging.format: "),
            ("{logging: {format: {json: {fields: [when]}}}}", "spec.logging.format.json: fields: "),
            (
                "{logging: {format: {json: {requestHeaders: ['a b']}}}}",
                "spec.logging.format.json: requestHeaders: ",
            ),
            (
                "{logging: {format: {json: {responseHeaders: ['']}}}}",
                "spec.logging.format.json: responseHeaders: ",
            ),
            ("{logging: {query: ''}}", "spec.logging: query: "),
            ("{logging: {redactHeaders: ['a:']}}", "spec.logging: redactHeaders: "),
        ] {
            let error = spec::<GatewayClassParametersSpec>(yaml).validate().unwrap_err();
            assert!(error.starts_with(message) && !error.contains("; "), "{yaml}: {error}");
        }
    }

    #[test]
    fn policies() {
        let gateway =
            |name: &str| format!("{{group: gateway.networking.k8s.io, kind: Gateway, name: {name}}}");
        let policy = |targets: &[String], rest: &str| {
            let yaml = format!("{{targetRefs: [{}]{rest}}}", targets.join(", "));
            spec::<VarnishLoggingPolicySpec>(&yaml).validate()
        };
        let many: Vec<_> = (0..17).map(|n| gateway(&format!("g{n}"))).collect();
        assert_eq!(policy(&many[..16], ", format: {ncsa: '%h'}"), Ok(()));
        let service = "{group: '', kind: Service, name: a}".to_owned();
        for (result, message) in [
            (policy(&[], ""), "spec: targetRefs: expected 1 to 16"),
            (policy(&many, ""), "spec: targetRefs: expected 1 to 16"),
            (policy(&[service], ""), "spec: targetRefs: expected Gateways"),
            (policy(&[gateway("a"), gateway("a")], ""), "spec: targetRefs: expected each Gateway once"),
            (policy(&many[..1], ", format: {json: {}, ncsa: '%h'}"), "spec.format: "),
            (policy(&many[..1], ", query: ''"), "spec: query: "),
        ] {
            let error = result.unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
