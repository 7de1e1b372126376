"""Bearer tokens of an OpenID Connect issuer, accepted in addition to API keys if the operator configures an issuer.

Only `jwt` imports the token library, which is an optional extra; it is imported only if an issuer is set. This package
does not depend on HTTP requests or responses; `service.middleware.authentication` calls `Tokens`.
"""
