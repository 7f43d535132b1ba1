package import KeelsonCore

/// A layer as it was read, before a schema says which objects are sections and what a name means.
package enum LayerSource: Sendable, Hashable {
  /// A JSON document; `source` names it for people.
  case document(ConfigurationLayer, JSONValue, source: String)
  /// The environment variables that begin with a prefix, two underscores included.
  case variables([String: String], prefix: String)
  /// Texts by key.
  case secrets([String: String], source: String)

  /// The layer's values.
  ///
  /// - Parameter lower: the layers below, whose keys environment variables may mean.
  /// - Throws: ``LayerError`` when a document is no object.
  package func values(schema: ConfigurationSchema, lower: [LayerValues])
    throws(LayerError) -> LayerValues
  {
    switch self {
    case .document(let layer, let document, let source):
      try LayerValues(layer, document: document, source: source, schema: schema)
    case .variables(let variables, let prefix):
      LayerValues(environment: variables, prefix: prefix, schema: schema, lower: lower)
    case .secrets(let secrets, let source):
      LayerValues(secrets: secrets, source: source, schema: schema)
    }
  }

  /// All layers of a configuration, the lowest first; of several secret stores the later wins.
  ///
  /// - Throws: ``LayerError`` when a document is no object.
  package static func values(of sources: [LayerSource], schema: ConfigurationSchema)
    throws(LayerError) -> [LayerValues]
  {
    var layers: [LayerValues] = []
    for source in sources.sorted(by: { $0.layer < $1.layer }) {
      let next = try source.values(schema: schema, lower: layers)
      if let last = layers.indices.last, layers[last].layer == next.layer {
        layers[last].values.merge(next.values) { $1 }
      } else {
        layers.append(next)
      }
    }
    return layers
  }

  private var layer: ConfigurationLayer {
    switch self {
    case .document(let layer, _, _): layer
    case .variables: .environmentVariables
    case .secrets: .secretStore
    }
  }
}
