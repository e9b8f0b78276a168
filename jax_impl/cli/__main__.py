"""python -m jax_impl.cli VERB is hid-museformer VERB."""

from jax_impl.cli import main

main()
