"""Lints the chart, renders it with each file of ci/, and checks what comes out against Kubernetes' own schemas."""
import pathlib
import kubernetes_validate
import yaml
from helm_python.chart import Chart, lint

CHART = pathlib.Path(__file__).parent / "push"
# What must be refused, and a word of why.
REFUSED = [
    ({"worker": {"settings": {"EXPO_RATE": "600"}}}, "invalid propertyName"),
    ({"worker": {"settings": {"EXPO_BASE_URL": "https://exp.host"}}}, "invalid propertyName"),
    ({"api": {"settings": {"CUSTOMER_JWT_SECRET": "clear"}}}, "invalid propertyName"),
    ({"api": {"secrets": ["API_KEYS"]}}, "/api/secrets"),
    ({"expo": {"enabled": True, "ratePerProject": 1}}, "less than one for each worker"),
    ({"worker": {"secrets": ["DATABASE_URL", "AMQP_URL", "EXPO_ACCESS_TOKEN"]}}, "EXPO_ACCESS_TOKEN turns Expo on"),
    ({"api": {"drainSeconds": 20}}, "more than half of shutdownGraceSeconds"),
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
