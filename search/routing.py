"""WebSocket addresses."""

from django.urls import URLPattern, path

from search.consumers import BoardConsumer

websocket_urlpatterns: list[URLPattern] = [path("ws/searches/<int:pk>/", BoardConsumer.as_asgi())]
