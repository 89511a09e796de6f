"""`invites gateway`: one WebSocket gateway."""

from __future__ import annotations

from workers.cli.options import CommandError, Common, with_common


@with_common()
def gateway(*, common: Common) -> int:
    """Run one WebSocket gateway until SIGTERM, SIGINT or SIGHUP. Start as many as you like.

    Devices connect to /ws and log in with a JSON Web Token (gateway.secret or gateway.jwks in the configuration). The
    gateway (gateway.host and gateway.port, default 127.0.0.1:8090) also answers /healthz, /readyz and /metrics.
    """
    url = common.url()

    import uvloop
    from redis.exceptions import RedisError

    from invites.connection.url import address_of
    from workers.cli.session import trouble
    from workers.gateway import service

    try:
        return uvloop.run(service.run(common.config, url.reveal()))
    except service.GatewayError as error:
        raise CommandError(str(error)) from None
    except RedisError as error:
        raise CommandError(trouble(address_of(url), error)) from None
