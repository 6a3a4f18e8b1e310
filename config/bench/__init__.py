"""What ./mainstay bench can measure: a name and the function that yields its figures, loaded only when asked for."""

BENCHES = {
    "start": "config.bench.start:measure",
    "memory": "config.bench.memory:measure",
    "backup": "config.bench.backup:measure",
    "proof": "config.bench.proof:measure",
    "disasters": "config.bench.disasters:measure",
    "pages": "config.bench.pages:measure",
    "servers": "config.bench.servers:measure",
    "leaving": "config.bench.leaving:measure",
    "walk": "config.bench.walk:measure",
    "server-page": "config.bench.history:measure",
}
