"""The prediction server: HTTP and gRPC, model loading, routing, the capture writer.

Imported as ``trueup.serving`` only. The server itself comes with a later release; this
package exists so that the layout, the wheel and the import contracts hold from the start.
"""
