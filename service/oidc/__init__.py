"""Bearer tokens of an OpenID Connect issuer, taken besides API keys where the operator names one.

`signed` alone knows the library for tokens, which is an optional extra: it is imported only where an issuer is set.
Nothing here knows HTTP requests or answers; `service.middleware.authentication` asks `Tokens` who sends a request.
"""
