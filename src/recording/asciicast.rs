//! asciicast v2 (https://docs.asciinema.org/manual/asciicast/v2/), pure.
