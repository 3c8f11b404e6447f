# Sends RhoConnect's pings through the Rho Push Gateway.
#
# Copy this file beside your application.rb and require it there, after RhoConnect itself:
#
#   require_relative 'rhopush'
#
# From then on Rhoconnect::PingJob.perform, which a source adapter calls, and which RhoConnect itself calls for a
# source with push_notify, is a call of the gateway: it waits until every device has its verdict, and raises what
# went wrong, as before. Whether RhoConnect pings at all stays RhoConnect's own decision.
#
# RHOPUSH_SERVER is the gateway's address (http://127.0.0.1:9292 without it), API_TOKEN its API token. Or:
#
#   Rhopush.configure(server: 'https://push.example.com', token: 'secret')
#
# Plain Ruby from 2.3 on, and nothing but its standard library.

require 'json'
require 'net/http'
require 'openssl'
require 'securerandom'
require 'uri'

module Rhopush
  # The gateway refused the ping, could not be reached, or could not reach a device.
  class Error < StandardError; end

  PATH = '/rc/v1/users/ping'.freeze
  OPEN_SECONDS = 5
  # The gateway answers after ping.wait_max_s (30) at the latest.
  READ_SECONDS = 60
  ATTEMPTS = 3
  BROKEN = [
    EOFError, IOError, SystemCallError, SocketError, Net::OpenTimeout, Net::ReadTimeout, OpenSSL::SSL::SSLError
  ].freeze

  class << self
    attr_writer :server, :token

    def configure(server: nil, token: nil)
      self.server = server if server
      self.token = token if token
    end

    def server
      @server || ENV['RHOPUSH_SERVER'] || 'http://127.0.0.1:9292'
    end

    def token
      @token || ENV['API_TOKEN'] || raise(Error, 'Rhopush: no API token: set API_TOKEN or call Rhopush.configure')
    end

    # Ping, and wait for the verdicts.
    #
    # params - a Hash as RhoConnect's own: user_id, sources, message, badge, sound, vibrate.
    #
    # Raises Rhopush::Error with the devices' errors, joined as RhoConnect joins them.
    def ping(params)
      answer = post(JSON.generate(stringified(params).merge('wait' => true)))
      case answer.code
      when '200' then true
      when '504' then true # accepted; some devices take longer than a caller should wait
      else raise Error, reason(answer)
      end
    end

    private

    def stringified(params)
      params.each_with_object({}) { |(name, value), copy| copy[name.to_s] = value }
    end

    # A request whose answer got lost is repeated under the same key: the gateway pings once.
    def post(body)
      key = SecureRandom.uuid
      attempt = 0
      begin
        attempt += 1
        request(body, key)
      rescue *BROKEN => error
        retry if attempt < ATTEMPTS
        raise Error, "Rhopush: #{address} does not answer: #{error.message}"
      end
    end

    def request(body, key)
      uri = URI.parse(server)
      http = Net::HTTP.new(uri.host, uri.port)
      http.use_ssl = uri.scheme == 'https'
      http.open_timeout = OPEN_SECONDS
      http.read_timeout = READ_SECONDS
      http.max_retries = 0 if http.respond_to?(:max_retries=)
      http.start { |connection| connection.post(uri.path.chomp('/') + PATH, body, headers(key)) }
    end

    def headers(key)
      { 'Content-Type' => 'application/json', 'X-RhoConnect-API-TOKEN' => token, 'Idempotency-Key' => key }
    end

    def reason(answer)
      text = answer.body.to_s
      return text unless answer['Content-Type'].to_s.start_with?('application/json')
      JSON.parse(text).fetch('error').fetch('message')
    rescue JSON::ParserError, KeyError
      "#{answer.code} #{answer.message}"
    end

    # The address without any user and password in it.
    def address
      uri = URI.parse(server)
      "#{uri.scheme}://#{uri.host}:#{uri.port}"
    end
  end

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
