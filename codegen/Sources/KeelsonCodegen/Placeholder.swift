// The generator.
