"""HTTP and WebSocket entry point."""

import os
from typing import cast

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.core.asgi import get_asgi_application

http = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402  (needs the apps loaded)
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402

from config.limits import App, BodyLimit, KeptPieces  # noqa: E402
from search.routing import websocket_urlpatterns  # noqa: E402
from uploads.tus import CHUNK_MAX_BYTES  # noqa: E402

BODY_MAX_BYTES = CHUNK_MAX_BYTES + 1024**2

application = ProtocolTypeRouter(
    {
        # The limit stands within: a body that it has refused is no piece that was cut.
        "http": KeptPieces(BodyLimit(cast(App, http), BODY_MAX_BYTES), "/uploads/"),
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
    }
)
