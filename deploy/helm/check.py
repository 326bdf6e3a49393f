"""Lints the chart, renders it with each file of ci/, and checks what comes out against Kubernetes' own schemas."""
import pathlib
import kubernetes_validate
import yaml
from helm_python.chart import Chart, lint

CHART = pathlib.Path(__file__).parent / "push"
CLUSTER = CHART.parent.parent / "kubernetes"
# What must be refused, and a word of why.
REFUSED = [
    ({"worker": {"settings": {"EXPO_RATE": "600"}}}, "invalid propertyName"),
    ({"worker": {"settings": {"EXPO_BASE_URL": "https://exp.host"}}}, "invalid propertyName"),
    ({"api": {"settings": {"CUSTOMER_JWT_SECRET": "clear"}}}, "invalid propertyName"),
    ({"api": {"secrets": ["API_KEYS"]}}, "/api/secrets"),
    ({"expo": {"enabled": True, "ratePerProject": 1}}, "less than one for each worker"),
    ({"worker": {"secrets": ["DATABASE_URL", "AMQP_URL", "EXPO_ACCESS_TOKEN"]}}, "EXPO_ACCESS_TOKEN turns Expo on"),
    ({"api": {"drainSeconds": 20}}, "more than half of shutdownGraceSeconds"),
    ({"networkPolicy": {"ingressNamespace": "ingress-nginx"}}, "'ingressNamespace' not allowed"),
    ({"networkPolicy": {"providersPorts": [0]}}, "/providersPorts"),
    ({"authority": {"existingSecret": "a", "existingConfigMap": "b"}}, "not both"),
    ({"authority": {"existingConfigMap": "a"}, "worker": {"keda": {"enabled": True}}}, "from a Secret only"),
    ({"worker": {"settings": {"SSL_CERT_FILE": "/etc/ca.crt"}}}, "invalid propertyName"),
    ({"workers": 3}, "'workers' not allowed"),
]


def rendered(values):
    chart = Chart.load(CHART)
    chart.validate_schema(values)
    texts = chart.render(values, name="push", namespace="push").items()
    texts = [text for name, text in texts if name.endswith(".yaml")]
    return [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest]


def settings(manifests, name):
    pod = next(one for one in manifests if one["kind"] == "Deployment" and one["metadata"]["name"] == name)
    return {setting["name"]: setting["value"] for setting in pod["spec"]["template"]["spec"]["containers"][0]["env"]}


def one(manifests, kind, name):
    found = [manifest for manifest in manifests if (manifest["kind"], manifest["metadata"]["name"]) == (kind, name)]
    expect(len(found) == 1, f"{len(found)} of {kind} {name}")
    return found[0]


def expect(holds, what):
    if not holds:
        raise SystemExit(f"not so: {what}")


def pod(manifests, kind, name):
    return one(manifests, kind, name)["spec"]["template"]["spec"]


PROGRAMS = [("Job", "push-migrate"), ("Deployment", "push-api"), ("Deployment", "push-worker")]


def check_authority():
    """Each program sees the authorities, from a Secret or from a ConfigMap."""
    for source, volume, name in [("existingSecret", "secret", "secretName"), ("existingConfigMap", "configMap", "name")]:
        manifests = rendered({"authority": {source: "ours"}})
        for kind, program in PROGRAMS:
            spec = pod(manifests, kind, program)
            container = spec["containers"][0]
            file = next((one["value"] for one in container["env"] if one["name"] == "SSL_CERT_FILE"), None)
            mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
            volumes = {one["name"]: one for one in spec["volumes"]}
            expect(file == "/run/authority/ca.crt" and mounts.get("authority") == "/run/authority", f"{program} has SSL_CERT_FILE")
            expect(volumes["authority"][volume][name] == "ours", f"{program} mounts {source}")


def check_order():
    """push-api can be of a newer version than the workers, for as long as it is upgraded."""
    manifests = rendered({"image": {"tag": "2"}, "worker": {"tag": "1"}})
    tags = [pod(manifests, kind, program)["containers"][0]["image"].rsplit(":")[-1] for kind, program in PROGRAMS]
    expect(tags == ["2", "2", "1"], f"migrate, api and worker are of 2, 2 and 1: {tags}")


def check_network():
    values = {"networkPolicy": {"ingressNamespaces": ["one", "two"], "monitoringNamespaces": ["three", "four"],
              "dnsTo": [{"ipBlock": {"cidr": "169.254.20.10/32"}}], "providersTo": [{"ipBlock": {"cidr": "2001:db8::/64"}}],
              "providersPorts": [443, 3128], "egress": [{"ports": [{"port": 4317, "protocol": "TCP"}]}]}}
    manifests = rendered(values)
    rules = {name: one(manifests, "NetworkPolicy", f"push-{name}")["spec"] for name in ["all", "api", "metrics", "worker"]}
    for name, wanted in [("api", ["one", "two"]), ("metrics", ["three", "four"])]:
        namespaces = rules[name]["ingress"][0]["from"][0]["namespaceSelector"]["matchExpressions"][0]["values"]
        expect(namespaces == wanted, f"into {name} from {wanted}: {namespaces}")
    expect(rules["all"]["egress"][0]["to"] == values["networkPolicy"]["dnsTo"], "DNS is where dnsTo says")
    expect(rules["all"]["egress"][-1] == values["networkPolicy"]["egress"][0], "further rules are rules")
    out = rules["worker"]["egress"][0]
    expect(out["to"] == values["networkPolicy"]["providersTo"] and [port["port"] for port in out["ports"]] == [443, 3128], f"to providers: {out}")
    blocks = [peer["ipBlock"]["cidr"] for peer in one(rendered({}), "NetworkPolicy", "push-worker")["spec"]["egress"][0]["to"]]
    expect(blocks == ["0.0.0.0/0", "::/0"], f"providers by IPv4 and IPv6: {blocks}")


def check_cluster():
    """The examples of broker and database fit the values that go with them, and the programs' rules."""
    manifests = rendered(yaml.safe_load((CHART / "ci" / "cluster.yaml").read_text()))
    broker = list(yaml.safe_load_all((CLUSTER / "rabbitmq.yaml").read_text()))
    database = list(yaml.safe_load_all((CLUSTER / "mariadb.yaml").read_text()))
    for manifest in broker + database:
        expect(manifest["metadata"]["namespace"] == "push", f"{manifest['kind']} is in the namespace of the release")
    rabbit = one(broker, "RabbitmqCluster", "push-broker")["spec"]
    settings_of = dict(line.split(" = ") for line in rabbit["rabbitmq"]["additionalConfig"].splitlines())
    expect(rabbit["replicas"] == 3 and rabbit["persistence"]["storage"], "three brokers with disks")
    expect(int(settings_of["consumer_timeout"]) > 600_000, "consumer_timeout is longer than GIVE_BACK_AFTER may be")
    expect(rabbit["tls"]["disableNonTLSListeners"], "the broker speaks TLS only")
    maria = one(database, "MariaDB", "push-database")["spec"]
    expect(maria["replicas"] == 3 and maria["galera"]["enabled"] and "podIndex" in maria["galera"]["primary"], "three databases, one is written to")
    lines = maria["myCnf"].splitlines()
    for line in ["character_set_server = utf8mb4", "binlog_format = ROW", "innodb_flush_log_at_trx_commit = 1"]:
        expect(line in lines, line)
    config = dict(line.split(" = ") for line in lines if " = " in line)
    user = one(database, "User", "push")["spec"]
    expect(user["maxUserConnections"] < int(config["max_connections"]), "connections are left for the operator")
    expect(int(config["max_prepared_stmt_count"]) >= 250 * user["maxUserConnections"], "250 statements for each connection")
    grant = one(database, "Grant", "push")["spec"]
    expect((grant["username"], grant["database"]) == ("push", one(database, "Database", "push")["metadata"]["name"]), "the grant is the user's")
    for kind in ["Database", "User", "Grant", "Backup"]:
        expect(one(database, kind, "push")["spec"]["mariaDbRef"]["name"] == "push-database", f"{kind} is of push-database")
    allowed = one(manifests, "NetworkPolicy", "push-all")["spec"]["egress"]
    peers = [rule["to"][0]["podSelector"]["matchLabels"] for rule in allowed[1:3]]
    expect([list(peer.values()) for peer in peers] == [["push-database"], ["push-broker"]], f"the programs reach both: {peers}")
    keda = one(manifests, "ScaledObject", "push-worker")["spec"]
    expect([trigger["type"] for trigger in keda["triggers"]] == ["rabbitmq", "prometheus"], "KEDA scales by depth and by age")
    age = keda["triggers"][1]["metadata"]
    expect(age["query"] == 'max(push_oldest_job_age_seconds{queue="push.jobs"})', f"the age is that of the oldest job: {age}")
    expect(0 < int(age["threshold"]) < 120, f"workers come before PushBacklogOld fires: {age}")
    needs = [need["parameter"] for need in one(manifests, "TriggerAuthentication", "push-worker")["spec"]["secretTargetRef"]]
    expect(needs == ["host", "tls", "ca"], f"KEDA believes the authority: {needs}")
    labels = one(manifests, "PodMonitor", "push")["metadata"]["labels"]
    expect(labels == {"release": "prometheus", "app.kubernetes.io/name": "push", "app.kubernetes.io/instance": "push"}, f"labels {labels}")
    for manifest in broker:
        if manifest["apiVersion"] == "policy/v1":
            kubernetes_validate.validate(manifest, "1.37", strict=True)


for file in sorted((CHART / "ci").glob("*.yaml")):
    values = yaml.safe_load(file.read_text())
    if errors := lint(CHART, values, strict=True)["errors"]:
        raise SystemExit(f"{file.name}: {errors}")
    manifests = rendered(values)
    for manifest in manifests:
        try:
            kubernetes_validate.validate(manifest, "1.37", strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            print(f"no schema at hand for {manifest['apiVersion']} {manifest['kind']}")
    print(f"{file.name}: {len(manifests)} objects")
    if file.name == "full.yaml" and (rate := settings(manifests, "push-worker")["EXPO_RATE"]) != "75":
        raise SystemExit(f"of 600 a second each of 8 workers gets {rate}")

for values, word in REFUSED:
    try:
        rendered(values)
    except Exception as why:
        if word not in str(why):
            raise
        print(f"refused, as it must be: {values}")
    else:
        raise SystemExit(f"{values} is not refused")

for check in [check_authority, check_order, check_network, check_cluster]:
    check()
    print(f"holds: {check.__name__.removeprefix('check_')}")
