//! Docker's JSON shapes of containers and images, as `inspect` and the Docker Engine API give them.
