// Drives a server with Segment's own TypeScript client, unchanged: node drive.js URL TOKEN SPACE SOURCE. Prints what it did as JSON.
'use strict';
const assert = require('assert');
const sdk = require('@segment/public-api-sdk-typescript');

const [url, token, spaceId, sourceId] = process.argv.slice(2);
const done = [];

function api(Kind) {
  const made = new Kind(url);
  made.accessToken = token;
  // the client's promises reject with an error that holds the answer; each call is written down by its name
  return new Proxy(made, {
    get(target, name) {
      const value = target[name];
      if (typeof value !== 'function') return value;
      return async (...given) => {
        const { response, body } = await value.apply(target, given);
        assert.strictEqual(response.statusCode, 200);
        done.push(name);
        return body.data;
      };
    },
  });
}

async function refused(status, call) {
  try {
    await call();
  } catch (error) {
    assert.strictEqual(error.statusCode, status, JSON.stringify(error.body));
    assert.ok(error.body.errors[0].type && error.body.errors[0].message);
    return error.body.errors[0];
  }
  throw new Error(`expected ${status}`);
}

const page = { count: 2 };

async function main() {
  const spaces = api(sdk.SpacesApi);
  assert.strictEqual((await spaces.listSpaces(page)).spaces[0].id, (await spaces.getSpace((await spaces.listSpaces(page)).spaces[0].id)).space.id);

  const catalog = api(sdk.CatalogApi);
  const types = (await catalog.getDestinationsCatalog(page)).destinationsCatalog;
  assert.strictEqual(types.length, 2);
  const webhook = (await catalog.getDestinationMetadata('webhook')).destinationMetadata;
  assert.strictEqual(webhook.supportedMethods.identify, true);
  assert.deepStrictEqual((await catalog.getSourcesCatalog(page)).sourcesCatalog, []);
  assert.deepStrictEqual((await catalog.getWarehousesCatalog(page)).warehousesCatalog, []);
  await refused(404, () => catalog.getSourceMetadata('nothing'));
  await refused(404, () => catalog.getWarehouseMetadata('nothing'));

  const destinations = api(sdk.DestinationsApi);
  const settings = { url: 'https://example.com/hook', signing_secret: 'sg-0123456789-very-secret' };
  const made = (await destinations.createDestination({ sourceId: spaceId, metadataId: webhook.id, name: 'From the client', settings })).destination;
  assert.ok(made.settings.signing_secret.includes('•'));
  const changed = (await destinations.updateDestination(made.id, { name: 'Renamed', settings: { ...made.settings, batch: false } })).destination;
  assert.deepStrictEqual([changed.name, changed.settings.batch], ['Renamed', false]);
  assert.strictEqual((await destinations.getDestination(made.id)).destination.name, 'Renamed');
  assert.strictEqual((await destinations.listDestinations(page)).pagination.totalEntries, 1);
  const trigger = 'type = "identify" and traits.vip = true';
  const subscription = (await destinations.createDestinationSubscription(made.id, { name: 'Mine', actionId: webhook.actions[0].id, trigger, enabled: false }))
    .destinationSubscription;
  const updated = (await destinations.updateSubscriptionForDestination(made.id, subscription.id, { input: { enabled: true } })).subscription;
  assert.deepStrictEqual([updated.enabled, updated.trigger], [true, trigger]);
  assert.strictEqual((await destinations.getSubscriptionFromDestination(made.id, subscription.id)).subscription.id, subscription.id);
  assert.strictEqual((await destinations.listSubscriptionsFromDestination(made.id, page)).subscriptions.length, 1);
  assert.strictEqual((await destinations.removeSubscriptionFromDestination(made.id, subscription.id)).status, 'SUCCESS');
  const metrics = (await destinations.listDeliveryMetricsSummaryFromDestination(made.id, spaceId)).deliveryMetricsSummary;
  assert.strictEqual(metrics.destinationMetadataId, 'webhook');

  const audiences = api(sdk.AudiencesApi);
  const listed = await audiences.listAudiences(spaceId, page);
  assert.deepStrictEqual([listed.audiences.length, listed.pagination.totalEntries], [2, 3]);
  const rest = await audiences.listAudiences(spaceId, { count: 2, cursor: listed.pagination.next });
  assert.strictEqual(rest.audiences.length, 1);
  const one = (await audiences.getAudience(spaceId, rest.audiences[0].id)).audience;
  assert.strictEqual(one.definition.type, 'USERS');
  assert.strictEqual((await audiences.updateAudienceForSpace(spaceId, one.id, { enabled: false })).audience.enabled, false);
  assert.strictEqual((await audiences.removeAudienceFromSpace(spaceId, one.id)).status, 'SUCCESS');
  await refused(404, () => audiences.getAudience(spaceId, one.id));

  const traits = api(sdk.ComputedTraitsApi);
  const trait = (await traits.listComputedTraits(spaceId, page)).computedTraits[0];
  assert.deepStrictEqual([trait.key, trait.definition.type], ['spend', 'USERS']);
  assert.strictEqual((await traits.getComputedTrait(spaceId, trait.id)).computedTrait.id, trait.id);
  assert.strictEqual((await traits.updateComputedTraitForSpace(spaceId, trait.id, { enabled: false })).computedTrait.enabled, false);
  assert.strictEqual((await traits.removeComputedTraitFromSpace(spaceId, trait.id)).status, 'SUCCESS');
  await refused(404, () => traits.getComputedTrait(spaceId, trait.id));

  const address = { key: 'jane@example.com', type: 'EMAIL' };
  const said = await spaces.replaceMessagingSubscriptionsInSpaces(spaceId, { subscriptions: [{ ...address, status: 'SUBSCRIBED' }] });
  assert.strictEqual(said.successes[0].status, 'SUBSCRIBED');
  const asked = await spaces.batchQueryMessagingSubscriptionsForSpace(spaceId, { subscriptions: [address] });
  assert.deepStrictEqual([asked.successes[0].key, asked.successes[0].status], [address.key, 'SUBSCRIBED']);

  const overview = api(sdk.DeliveryOverviewApi);
  const time = ['2026-01-01T00:00:00Z', '2026-01-03T00:00:00Z', 'day', page];
  for (const name of ['Success', 'Failed']) {
    assert.deepStrictEqual((await overview[`getEgress${name}MetricsFromDeliveryOverview`](spaceId, made.id, ...time)).dataset, []);
  }
  assert.deepStrictEqual((await overview.getFilteredAtDestinationMetricsFromDeliveryOverview(spaceId, made.id, ...time)).dataset, []);

  const sources = api(sdk.SourcesApi);
  assert.strictEqual((await sources.listSources(page)).sources[0].id, sourceId);
  assert.strictEqual((await sources.getSource(sourceId)).source.slug, 'website');
  assert.deepStrictEqual((await sources.listConnectedDestinationsFromSource(sourceId, page)).destinations, []);
  assert.ok((await api(sdk.WorkspacesApi).getWorkspace()).workspace.slug);

  const events = (await api(sdk.AuditTrailApi).listAuditEvents(page)).events;
  assert.strictEqual(events[0].resourceType, 'messaging');

  assert.strictEqual((await destinations.deleteDestination(made.id)).status, 'SUCCESS');
  await refused(404, () => destinations.getDestination(made.id));
  const wrong = await refused(422, () => destinations.createDestination({ sourceId: spaceId, metadataId: webhook.id, settings: {} }));
  assert.strictEqual(wrong.field, 'settings');
  const stranger = new sdk.SpacesApi(url);
  stranger.accessToken = 'eng_nobody';
  await refused(401, () => stranger.listSpaces(page));
  console.log(JSON.stringify([...new Set(done)].sort()));
}

main().catch((error) => {
  console.error(error.body || error);
  process.exit(1);
});
