# Sends RhoConnect's pings through the Rho Push Gateway.
#
# RhoConnect 4 and later: copy this file to controllers/ruby/rhopush.rb of the app. RhoConnect loads every file of
# that folder when it boots, in the web server and in the Resque workers alike; no other line is needed.
# Older apps: copy it beside application.rb and require it there, after RhoConnect itself (the Rakefile of such an
# app requires application.rb in `resque:setup`, so its Resque workers load it too):
#
#   require_relative 'rhopush'
#
# From then on Rhoconnect::PingJob.perform is a call of the gateway. Source adapters and Resque workers call that
# method, and RhoConnect itself does for a source with push_notify. Whether RhoConnect pings at all stays
# RhoConnect's own decision.
#
# RHOPUSH_SERVER is the gateway's address (default http://127.0.0.1:9292), API_TOKEN its API token. Or:
#
#   Rhopush.configure(server: 'https://push.example.com', token: 'secret')
#
# A call waits for the verdicts of the devices, at most 10 s in all, whatever the gateway does. What goes wrong is
# logged, and raised where `raise_on` names it:
#
#   :refused      the ping cannot be sent (a wrong API token, an invalid parameter or setting)
#   :unreachable  the gateway, or a proxy in front of it, did not answer or failed: the ping may be lost
#   :devices      a provider rejected the push to a device, for example because the app was removed
#
#   Rhopush.configure(raise_on: [:refused, :unreachable, :devices])
#
# The default is [:refused, :unreachable]. RhoConnect answers a write with 500 when a ping raises, after it has stored
# the data, and it never read Apple's answer: so a device that is gone is logged only. Missing Apple settings at the
# gateway are logged and never raised, as in RhoConnect.
#
# Plain Ruby from 2.3 on, and nothing but its standard library.

require 'json'
require 'net/http'
require 'openssl'
require 'securerandom'
require 'timeout'
require 'uri'
require 'zlib'

module Rhopush
  # A ping that went wrong. `kind` is :refused, :unreachable or :devices.
  class Error < StandardError
    attr_reader :kind

    def initialize(message, kind = :refused)
      super(message)
      @kind = kind
    end
  end

  PATH = '/rc/v1/users/ping'.freeze
  KINDS = [:refused, :unreachable, :devices].freeze
  # One call takes at most so long, all attempts together: a write of RhoConnect waits for it.
  BUDGET_SECONDS = 10
  OPEN_SECONDS = 3
  # The gateway is asked to answer this long before the budget ends, if devices have no verdict by then.
  MARGIN_SECONDS = 2
  ATTEMPTS = 3
  NO_APPLE_SETTINGS = 'apns: no_credential'.freeze
  BROKEN = [
    EOFError, IOError, SystemCallError, SocketError, Timeout::Error, OpenSSL::SSL::SSLError, Zlib::Error,
    Net::HTTPBadResponse, Net::HTTPHeaderSyntaxError, Net::ProtocolError
  ].freeze
  TEXT_CHARACTERS = 500

  class << self
    attr_writer :server, :token
    attr_reader :raise_on

    def configure(server: nil, token: nil, raise_on: nil)
      self.server = server if server
      self.token = token if token
      self.raise_on = raise_on unless raise_on.nil?
    end

    # Kinds of errors that `ping` raises instead of only logging them. [] and false raise nothing.
    def raise_on=(kinds)
      kinds = (kinds == false ? [] : Array(kinds)).map { |kind| kind.is_a?(String) ? kind.strip.to_sym : kind }
      unknown = kinds - KINDS
      raise ArgumentError, "raise_on: #{unknown.inspect} is none of #{KINDS.inspect}" unless unknown.empty?
      @raise_on = kinds.freeze
    end

    def server
      @server || ENV['RHOPUSH_SERVER'] || 'http://127.0.0.1:9292'
    end

    def token
      found = (@token || ENV['API_TOKEN']).to_s.strip # a file's last line end is none of the token
      return found if found =~ /\A[[:graph:]]+\z/
      raise Error, 'Rhopush: no API token: set API_TOKEN or call Rhopush.configure' if found.empty?
      raise Error, 'Rhopush: the API token contains a character that no token has'
    end

    # Ping, and wait for the verdicts.
    #
    # params - a Hash as RhoConnect's own: user_id, sources, message, badge, sound, vibrate.
    #
    # Returns true once the gateway has the ping, even if the verdicts of some devices take longer; false if it failed
    # in a way that `raise_on` does not name.
    #
    # Raises Rhopush::Error for the kinds of failures that `raise_on` names.
    def ping(params)
      deliver(params)
      true
    rescue Error => error
      raise if raise_on.include?(error.kind)
      log(error.message)
      false
    end

    private

    def deliver(params)
      answer = post(body_of(params))
      # 504 with a ping's id: accepted; some verdicts come later. Without one, it is the answer of a proxy.
      return if answer.code == '200' || (answer.code == '504' && answer['X-Ping-Id'])
      report = report_of(answer)
      raise failure(answer) unless report
      reasons = rejections(report)
      log('Invalid APNS settings: ping is ignored.') if reasons.delete(NO_APPLE_SETTINGS)
      raise Error.new(reasons.join('\n'), :devices) unless reasons.empty?
    end

    def body_of(params)
      sent = params.each_with_object({}) { |(name, value), copy| copy[name.to_s] = utf8(value) }
      JSON.generate(sent.merge('wait' => true))
    rescue JSON::JSONError => error
      raise Error, "Rhopush: the parameters cannot be written as JSON: #{error.message}"
    end

    # A copy whose texts are UTF-8: JSON has no others, and texts from Redis or a file may have no encoding.
    def utf8(value)
      case value
      when String then utf8_text(value)
      when Array then value.map { |item| utf8(item) }
      when Hash then value.each_with_object({}) { |(name, item), copy| copy[utf8(name)] = utf8(item) }
      else value
      end
    end

    def utf8_text(text)
      known = ![Encoding::UTF_8, Encoding::BINARY, Encoding::US_ASCII].include?(text.encoding)
      text = known ? text.encode(Encoding::UTF_8, invalid: :replace, undef: :replace) : text.dup.force_encoding('UTF-8')
      text.scrub
    end

    # A request whose answer got lost is repeated under the same key: the gateway pings once.
    def post(body)
      uri, secret, key = location, token, SecureRandom.uuid
      ends = now + BUDGET_SECONDS
      attempt = 0
      begin
        attempt += 1
        left = [ends - now, 0.1].max
        # The limits of Net::HTTP hold for each read: a server that sends slowly needs one around them all.
        Timeout.timeout(left) { request(uri, body, headers(secret, key, left), left) }
      rescue *BROKEN => error
        retry if attempt < ATTEMPTS && now < ends
        reason = error.is_a?(Timeout::Error) ? 'no answer in time' : utf8_text(error.message)
        raise Error.new("Rhopush: #{address} does not answer: #{reason}", :unreachable)
      end
    end

    def now
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end

    def request(uri, body, headers, left)
      http = Net::HTTP.new(uri.hostname, uri.port)
      http.use_ssl = uri.scheme == 'https'
      http.open_timeout = [OPEN_SECONDS, left].min
      http.read_timeout = left
      http.max_retries = 0 if http.respond_to?(:max_retries=)
      http.start { |connection| connection.post(uri.path.sub(%r{/+\z}, '') + PATH, body, headers) }
    end

    # `Prefer` (RFC 7240): a report with each device's verdict, and an answer before the budget ends.
    def headers(secret, key, left)
      {
        'Content-Type' => 'application/json', 'X-RhoConnect-API-TOKEN' => secret, 'Idempotency-Key' => key,
        'Prefer' => "return=representation, wait=#{[(left - MARGIN_SECONDS).floor, 0].max}"
      }
    end

    # The report on the ping's devices; nil where the answer holds none.
    def report_of(answer)
      found = json_of(answer)
      found = found['report'] if found.key?('report')
      found.is_a?(Hash) && found.key?('devices') ? found : nil
    end

    def json_of(answer)
      return {} unless answer['Content-Type'].to_s.start_with?('application/json')
      found = JSON.parse(answer.body.to_s)
      found.is_a?(Hash) ? found : {}
    rescue JSON::ParserError
      {}
    end

    # "PROVIDER: REASON" of each device that its provider rejected, as RhoConnect joins them.
    def rejections(report)
      failed = report['devices'].select { |device| device.key?('reason') }
      failed.map { |device| "#{device['provider']}: #{device['reason']}" }
    end

    # 429 and 5xx: the gateway cannot take the ping now, or a proxy cannot reach it.
    def failure(answer)
      error = json_of(answer)['error']
      text = error.is_a?(Hash) ? error['message'] : text_of(answer)
      text = "#{answer.code} #{answer.message}" if text.to_s.empty?
      Error.new(text.to_s[0, TEXT_CHARACTERS], answer.code =~ /\A(429|5..)\z/ ? :unreachable : :refused)
    end

    # The text of an answer that is one: RhoConnect's own refusals. A proxy answers with a page.
    def text_of(answer)
      utf8_text(answer.body.to_s) if answer['Content-Type'].to_s.start_with?('text/plain')
    end

    def log(text)
      Rhoconnect.respond_to?(:log) ? Rhoconnect.log(text) : warn(text)
    end

    # The address without any user and password in it.
    def address
      uri = location
      "#{uri.scheme}://#{uri.host}:#{uri.port}"
    end

    def location
      uri = URI.parse(server.to_s.strip)
      return uri if uri.is_a?(URI::HTTP) && uri.host
      raise URI::InvalidURIError
    rescue URI::InvalidURIError
      raise Error, 'Rhopush: the server must be an address such as http://127.0.0.1:9292'
    end
  end

  self.raise_on = [:refused, :unreachable]

  # Takes the place of RhoConnect's own method.
  module Perform
    def perform(params)
      Rhopush.ping(params)
    end
  end
end

unless defined?(Rhoconnect::PingJob)
  raise LoadError, 'rhopush: require it after RhoConnect: Rhoconnect::PingJob is not there yet'
end
Rhoconnect::PingJob.singleton_class.send(:prepend, Rhopush::Perform)
