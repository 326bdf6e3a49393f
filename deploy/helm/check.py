"""Lints the chart, renders it with each file of ci/, and checks what comes out against Kubernetes' own schemas."""
import pathlib
import kubernetes_validate
import yaml
from helm_python.chart import Chart, lint

CHART = pathlib.Path(__file__).parent / "push"
for file in sorted((CHART / "ci").glob("*.yaml")):
    values = yaml.safe_load(file.read_text())
    if errors := lint(CHART, values, strict=True)["errors"]:
        raise SystemExit(f"{file.name}: {errors}")
    chart = Chart.load(CHART)
    chart.validate_schema(values)
    for name, text in chart.render(values, name="push", namespace="push").items():
        if not name.endswith(".yaml"):
            continue
        for manifest in filter(None, yaml.safe_load_all(text)):
            try:
                kubernetes_validate.validate(manifest, "1.37", strict=True)
            except kubernetes_validate.SchemaNotFoundError:
                print(f"no schema at hand for {manifest['apiVersion']} {manifest['kind']}")
